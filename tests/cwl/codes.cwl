cwlVersion: v1.2
class: CommandLineTool
inputs:
  code: {type: int, inputBinding: {position: 1}}
outputs:
  code: {type: int, outputBinding: {outputEval: $(runtime.exitCode)}}
  left: {type: File, outputBinding: {glob: left.txt}}
successCodes: [0, 3]
temporaryFailCodes: [4]
permanentFailCodes: [5]
baseCommand: [sh, -c, 'echo left > left.txt; exit $0']
