"""The paper's table on real pictures: what each strategy does to what must go and to what must stay.

    python -m benchmarks.table            # hours on two cores; carries on where it was interrupted
    python -m benchmarks.table --quick    # minutes: small models, one seed; shows that everything works

For each model of an example's workspace it trains the model, trains it again without the records to forget, runs every
strategy, and writes `table.md`, `ablations.md` and pictures. Architectures, tasks and settings come from the example's
workspace file and from the strategies themselves; `README.md` beside this file says how each figure is computed.
"""
