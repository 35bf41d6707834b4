cwlVersion: v1.2
class: CommandLineTool
doc: Copies of inputs that the tool changes.
requirements:
  InitialWorkDirRequirement:
    listing:
      - {entry: $(inputs.file), writable: true}
      - {entry: $(inputs.folder), writable: true}
inputs:
  file: File
  folder: Directory
outputs:
  changed: {type: File, outputBinding: {glob: $(inputs.file.basename)}}
  folder: {type: Directory, outputBinding: {glob: $(inputs.folder.basename)}}
arguments: [sh, -c, 'echo more >> "$1" && rm "$2/one.txt" && echo new > "$2/new.txt"', --, $(inputs.file.basename), $(inputs.folder.basename)]
