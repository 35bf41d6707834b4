cwlVersion: v1.2
class: CommandLineTool
doc: A number out of what a tool wrote.
requirements: {InlineJavascriptRequirement: {}}
inputs:
  file: File
outputs:
  lines: {type: int, outputBinding: {glob: lines, loadContents: true, outputEval: '$(parseInt(self[0].contents))'}}
stdin: $(inputs.file.path)
baseCommand: [wc, -l]
stdout: lines
