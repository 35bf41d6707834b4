cwlVersion: v1.2
class: Workflow
requirements: {InlineJavascriptRequirement: {}, MultipleInputFeatureRequirement: {}}
inputs:
  wanted: boolean
outputs:
  out: {type: File, outputSource: [first/out, second/out], pickValue: first_non_null}
  skipped: {type: File?, outputSource: first/out}
steps:
  first:
    run: echo.cwl
    when: $(inputs.wanted)
    in: {wanted: wanted, text: {default: first}}
    out: [out]
  second:
    run: echo.cwl
    in: {text: {default: second}}
    out: [out]
