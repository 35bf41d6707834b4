cwlVersion: v1.2
class: ExpressionTool
requirements:
  InlineJavascriptRequirement:
    expressionLib: ["function twice(n) { return 2 * n; }"]
inputs:
  numbers: int[]
outputs:
  doubled: int[]
  file: File
expression: |
  ${ return {doubled: inputs.numbers.map(twice),
             file: {class: "File", basename: "made.txt", contents: "made here\n"}}; }
