cwlVersion: v1.2
class: CommandLineTool
doc: A file that comes with the workflow, as the default of an input.
inputs:
  file: {type: File, default: {class: File, location: files/hello.txt}, inputBinding: {}}
outputs:
  out: stdout
baseCommand: cat
stdout: default.txt
