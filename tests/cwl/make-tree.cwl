cwlVersion: v1.2
class: CommandLineTool
doc: A directory with an empty one in it.
inputs: {}
outputs:
  tree: {type: Directory, outputBinding: {glob: tree}}
baseCommand: [sh, -c, 'mkdir -p tree/empty tree/full && echo a > tree/full/a.txt']
