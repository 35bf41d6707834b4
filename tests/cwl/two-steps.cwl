cwlVersion: v1.2
class: Workflow
inputs:
  file: File
outputs:
  lines: {type: int, outputSource: count/lines}
  sorted: {type: File, outputSource: sort/sorted}
steps:
  count: {run: count.cwl, in: {file: sort/sorted}, out: [lines]}
  sort: {run: sort.cwl, in: {file: file}, out: [sorted]}
