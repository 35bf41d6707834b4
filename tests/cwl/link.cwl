cwlVersion: v1.2
class: CommandLineTool
doc: A link to an input counts as that file.
inputs:
  file: File
outputs:
  link: {type: File, outputBinding: {glob: link.txt}}
arguments: [ln, -s, $(inputs.file.path), link.txt]
