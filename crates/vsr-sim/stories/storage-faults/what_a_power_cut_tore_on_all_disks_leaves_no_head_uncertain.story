# A power cut under load: every replica was writing the same entry, and what each disk has of it is torn. Nobody can have
# acknowledged it, so that no log is in doubt: the group goes on as after any crash. Were what is torn taken for damage, nobody
# would be sure of its head, and all would wait for ever. (storage.md, "Torn or damaged".)
cluster 3
given request c1 put k 1
given settle
given disk * slow log
given batch c2 c3 c4 put x 1
given deliver r0->r1 prepare
given deliver r0->r2 prepare
given crash r0 torn 15
given crash r1 torn 15
given crash r2 torn 15
given disk * ok
restart r0
restart r1
restart r2
expect r1 status backup
expect r1 op 1
given run 2s
expect steady
expect key k 1
expect same-state *
