cwlVersion: v1.1
class: CommandLineTool
hints: {NetworkAccess: {networkAccess: false}, WorkReuse: {enableReuse: false}}
inputs:
  text: {type: string, inputBinding: {}}
outputs:
  out: {type: stdout}
baseCommand: echo
