cwlVersion: v1.2
class: CommandLineTool
requirements:
  - $import: imported-types.yml
inputs:
  who: {type: "imported-types.yml#Who", inputBinding: {}}
outputs:
  out: stdout
baseCommand: echo
stdout: who.txt
