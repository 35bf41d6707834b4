cwlVersion: v1.2
class: CommandLineTool
inputs:
  file: {type: File, inputBinding: {position: 1}}
  reverse: {type: boolean, default: false, inputBinding: {prefix: -r}}
outputs:
  sorted: {type: File, outputBinding: {glob: sorted.txt}}
baseCommand: sort
stdout: sorted.txt
