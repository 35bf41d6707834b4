cwlVersion: v1.2
$graph:
  - id: main
    class: Workflow
    inputs: {text: string}
    outputs: {out: {type: File, outputSource: say/out}}
    steps:
      say: {run: "#say", in: {text: text}, out: [out]}
  - id: say
    class: CommandLineTool
    inputs: {text: {type: string, inputBinding: {}}}
    outputs: {out: stdout}
    baseCommand: echo
    stdout: packed.txt
