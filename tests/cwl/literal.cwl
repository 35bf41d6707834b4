cwlVersion: v1.2
class: CommandLineTool
doc: Files made of expressions, a small one and one that is too large to come along with the task.
requirements:
  InlineJavascriptRequirement: {}
  InitialWorkDirRequirement:
    listing:
      - {entryname: small.txt, entry: "$(inputs.text) and $(1 + 1)\n"}
      - {entryname: large.txt, entry: '$("x".repeat(100000))'}
inputs:
  text: string
outputs:
  small: {type: File, outputBinding: {glob: small.txt}}
  size: {type: string, outputBinding: {glob: size, loadContents: true, outputEval: '$(self[0].contents.trim())'}}
baseCommand: [sh, -c, 'wc -c < large.txt']
stdout: size
