cwlVersion: v1.2
class: ExpressionTool
requirements: {InlineJavascriptRequirement: {}}
inputs: {a: string, b: string}
outputs: {joined: string}
expression: '${ return {joined: inputs.a + inputs.b}; }'
