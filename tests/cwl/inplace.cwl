cwlVersion: v1.2
class: CommandLineTool
requirements:
  InplaceUpdateRequirement: {inplaceUpdate: true}
inputs: {}
outputs: {}
baseCommand: "true"
