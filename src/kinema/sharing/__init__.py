"""Work of a long list that many processes share, without a coordinator.

Note [Shared work]
    All that is shared lies in one store, below `_shared/`:

        list.json.gz             the sorted names, cut into chunks              `chunks`
        claims/000012.1          who works at chunk 12: its first generation    `claims`
        beats/000012.1           is rewritten while that one lives: what runs, what is done
        manifests/000012.parquet what became of each name; then the chunk is done   `manifests`

    Beside it lies what is made: a file a name, or one a chunk (shards/000012.parquet, `shards`).

    Each process runs the same `loop`: claim a chunk, do it, put down its manifest, go on. A claim
    is made by `Store.settle`, so one process gets it. Where no beat came for a while, by the
    store's clock, the next generation is claimed; it goes on from what the last beat says was done.

    A claim saves time and guards nothing: two processes that both work at a chunk make the same
    bytes, which are compared where they meet. So a clock that is wrong, a process that sleeps for
    an hour and wakes, a lost answer cost time and never change what comes out.
"""
