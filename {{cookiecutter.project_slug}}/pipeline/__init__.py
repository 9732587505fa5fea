"""The delivery code behind ``tasks.py``: verbs that plan and act, return frozen records and print nothing.

What lies where, by what it is for; ``tests/test_template.py`` of the template holds the order of imports, downward only:

tasks/                                      what ``invoke`` runs: words, order, printing, exit codes
training, models                            the model: trained, judged, promoted; which one is
build, packers/                             the artifact: what goes in; how each target packs and pushes it
  bundle, archive, bytecode, wheels         its dependencies, copied as they lie
  locks, envs, sbom                         what is locked, installed and listed
  engines, registry, codebuild              images: who builds them, where they lie; builds on CodeBuild
store                                       artifacts by content, and by the commit that they are of
deploy, machine                             deploy, resume, rollback; their one state machine
  plan, costs, probing, watch, retention    what would change; is it itself; what users meet; what can go
  targets/                                  where versions live, and how traffic moves
  ledger, head, history                     what was released, and who is at work
  verify                                    is what is live what its commit's build made
infra, stacks, removal, doctor              what an environment stands on, and what is wrong with it
monitoring/, notify, scanning               what is seen, said and searched for faults
delivery, cloud, embedded, launcher/        one environment, opened; its cloud; the embedded one
config, keys, source, console, waiting      pipeline.toml, git, the terminal, time
errors                                      every fault that a user can meet
"""
