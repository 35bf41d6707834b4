cwlVersion: v1.2
class: CommandLineTool
requirements:
  EnvVarRequirement: {envDef: {GREETING: $(inputs.text), FIXED: "a b"}}
inputs:
  text: string
outputs:
  out: stdout
baseCommand: [sh, -c, 'echo "$GREETING|$FIXED|$HOME"']
stdout: env.txt
