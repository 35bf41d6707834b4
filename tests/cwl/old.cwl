cwlVersion: v1.0
class: CommandLineTool
inputs:
  file: {type: File, inputBinding: {}}
  names: {type: Directory}
outputs:
  out: {type: File, outputBinding: {glob: out.txt}}
baseCommand: cat
stdout: out.txt
