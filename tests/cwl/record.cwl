cwlVersion: v1.2
class: CommandLineTool
requirements:
  InlineJavascriptRequirement: {}
  SchemaDefRequirement:
    types:
      - {name: Pair, type: record, fields: {name: {type: string, inputBinding: {prefix: -n}}, count: {type: int, inputBinding: {prefix: -c}}}}
inputs:
  pair: {type: "#Pair", inputBinding: {}}
  kind: {type: {type: enum, symbols: [red, blue]}, inputBinding: {position: 1}}
outputs:
  found:
    type:
      type: record
      fields:
        text: {type: File, outputBinding: {glob: text.txt}}
        kind: {type: string, outputBinding: {outputEval: $(inputs.kind)}}
baseCommand: echo
stdout: text.txt
