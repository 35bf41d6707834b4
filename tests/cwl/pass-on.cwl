cwlVersion: v1.2
class: CommandLineTool
doc: Inputs that go on as outputs, unchanged; one of them a literal.
inputs:
  file: File
outputs:
  same: {type: File, outputBinding: {outputEval: $(inputs.file)}}
baseCommand: "true"
