cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}}
inputs:
  texts: string[]
outputs:
  files: {type: "File[]", outputSource: echo/out}
steps:
  echo: {run: echo.cwl, scatter: text, in: {text: texts}, out: [out]}
