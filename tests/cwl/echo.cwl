cwlVersion: v1.2
class: CommandLineTool
doc: A string, or its default, to a captured stdout.
inputs:
  text: {type: string, default: nothing, inputBinding: {position: 1}}
outputs:
  out: stdout
baseCommand: echo
stdout: said.txt
