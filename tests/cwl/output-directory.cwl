cwlVersion: v1.2
class: CommandLineTool
hints:
  DockerRequirement: {dockerPull: "busybox:latest", dockerOutputDirectory: /elsewhere}
inputs: {}
outputs:
  out: stdout
baseCommand: pwd
stdout: where.txt
