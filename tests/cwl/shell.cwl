cwlVersion: v1.2
class: CommandLineTool
requirements: {ShellCommandRequirement: {}}
inputs:
  file: File
outputs:
  out: stdout
arguments:
  - {valueFrom: cat}
  - {valueFrom: $(inputs.file.path)}
  - {shellQuote: false, valueFrom: "| sort | head -n 1"}
stdout: first.txt
