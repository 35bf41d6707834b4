cwlVersion: v1.2
class: CommandLineTool
doc: A directory as it arrives.
inputs:
  folder: Directory
outputs:
  names: {type: File, outputBinding: {glob: names.txt}}
arguments: [sh, -c, 'cd "$1" && find . -type f | sort', --, $(inputs.folder.path)]
stdout: names.txt
