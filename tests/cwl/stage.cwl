cwlVersion: v1.2
class: CommandLineTool
doc: An input under another name, unchanged, and as an output again.
requirements:
  InitialWorkDirRequirement:
    listing: [{entryname: renamed.txt, entry: $(inputs.file)}]
inputs:
  file: File
outputs:
  same: {type: File, outputBinding: {glob: renamed.txt}}
  copy: stdout
baseCommand: [cat, renamed.txt]
stdout: copied.txt
