cwlVersion: v1.2
class: CommandLineTool
inputs:
  text: stdin
outputs:
  out: stdout
  err: stderr
baseCommand: [sh, -c, 'cat; echo problem >&2']
