cwlVersion: v1.2
class: CommandLineTool
doc: Bindings in their order, one word a line.
inputs:
  number: {type: int, inputBinding: {position: 3, prefix: -n}}
  flag: {type: boolean, inputBinding: {position: 2, prefix: --flag}}
  off: {type: boolean, default: false, inputBinding: {position: 2, prefix: --off}}
  list: {type: "string[]", inputBinding: {position: 1, prefix: --list=, itemSeparator: ",", separate: false}}
  each: {type: {type: array, items: string, inputBinding: {prefix: -e}}, inputBinding: {position: 4}}
outputs:
  words: {type: "string[]", outputBinding: {glob: words, loadContents: true, outputEval: '$(self[0].contents.trim().split("\n"))'}}
requirements: {InlineJavascriptRequirement: {}}
baseCommand: [sh, -c, 'printf "%s\n" "$@"', --]
stdout: words
