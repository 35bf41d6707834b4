cwlVersion: v1.2
class: Workflow
requirements: {SubworkflowFeatureRequirement: {}}
inputs:
  file: File
outputs:
  lines: {type: int, outputSource: inner/lines}
steps:
  inner: {run: two-steps.cwl, in: {file: file}, out: [lines]}
