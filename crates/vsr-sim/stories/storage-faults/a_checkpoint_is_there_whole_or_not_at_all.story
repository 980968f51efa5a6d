# r1 dies before its checkpoint's file has its name, r2 right after that, before the superblock names it: both start from
# their logs, and the checkpoint that nobody named is no harm. (storage.md, "Checkpoints".)
cluster 3 checkpoint-every 4
given disk r1 slow checkpoint
given disk r2 slow checkpoint
given load c1 5 k
given run 500ms
crash r1 at before-rename-checkpoint
given disk r1 ok
restart r1
given run 500ms
crash r2 at after-rename-checkpoint
given disk r2 ok
restart r2
given load c1 4 k
given run 1s
expect r1 checkpoint 8
expect r2 checkpoint 8
expect same-state *
