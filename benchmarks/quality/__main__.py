from benchmarks.quality.checkpoints import main

main()
