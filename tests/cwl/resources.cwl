cwlVersion: v1.2
class: CommandLineTool
requirements:
  ResourceRequirement: {coresMin: 1, ramMin: 128, outdirMin: 10, tmpdirMin: 20}
inputs: {}
outputs:
  out: stdout
arguments: [echo, $(runtime.cores), $(runtime.ram), $(runtime.outdirSize), $(runtime.tmpdirSize)]
stdout: resources.txt
