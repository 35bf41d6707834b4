cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}, InlineJavascriptRequirement: {}}
inputs:
  a: string[]
  b: string[]
outputs:
  nested: {type: {type: array, items: {type: array, items: string}}, outputSource: nested/joined}
  flat: {type: "string[]", outputSource: flat/joined}
steps:
  nested:
    run: join.cwl
    scatter: [a, b]
    scatterMethod: nested_crossproduct
    in: {a: a, b: b}
    out: [joined]
  flat:
    run: join.cwl
    scatter: [a, b]
    scatterMethod: flat_crossproduct
    in: {a: a, b: b}
    out: [joined]
