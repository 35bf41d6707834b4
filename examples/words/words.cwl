# Count the words of each text, all at the same time, then put the counts together.
cwlVersion: v1.2
class: Workflow
requirements:
  ScatterFeatureRequirement: {}
hints:
  DockerRequirement: {dockerPull: "busybox:latest"}
inputs:
  texts: File[]
outputs:
  counts: {type: File, outputSource: join/counts}
steps:
  count:
    in: {text: texts}
    scatter: text
    out: [count]
    run:
      class: CommandLineTool
      baseCommand: [wc, -w]
      inputs:
        text: {type: File, inputBinding: {position: 1}}
      stdout: count.txt
      outputs:
        count: stdout
  join:
    in: {parts: count/count}
    out: [counts]
    run:
      class: CommandLineTool
      baseCommand: cat
      inputs:
        parts: {type: "File[]", inputBinding: {position: 1}}
      stdout: counts.txt
      outputs:
        counts: stdout
