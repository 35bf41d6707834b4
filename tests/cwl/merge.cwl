cwlVersion: v1.2
class: Workflow
requirements: {MultipleInputFeatureRequirement: {}, StepInputExpressionRequirement: {}, InlineJavascriptRequirement: {}}
inputs:
  a: string[]
  b: string[]
outputs:
  out: {type: File, outputSource: echo/out}
steps:
  echo:
    run: echo.cwl
    in:
      text: {source: [a, b], linkMerge: merge_flattened, valueFrom: '$(self.join("+"))'}
    out: [out]
