cwlVersion: v1.2
class: Workflow
doc: What one step has changed in its copy is as it was for the next one.
requirements: {StepInputExpressionRequirement: {}}
inputs:
  file: File
  folder: Directory
outputs:
  changed: {type: File, outputSource: change/changed}
  original: {type: File, outputSource: after/out}
steps:
  change: {run: change.cwl, in: {file: file, folder: folder}, out: [changed]}
  after:
    run:
      class: CommandLineTool
      inputs: {file: File, wait: File}
      outputs: {out: stdout}
      stdin: $(inputs.file.path)
      baseCommand: cat
      stdout: original.txt
    in: {file: file, wait: change/changed}
    out: [out]
