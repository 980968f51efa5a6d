# The power fails while r1 writes its superblock, and one copy of the new state is whole. r1 starts from it, and so gives it a
# second copy before it relies on it: when it stops again at once, and the first copy is damaged, it is in the view
# that it knew of, and not in an earlier one. (storage.md, "Superblock".)
cluster 3
given load c1 1 k
given run 100ms
given disk r1 slow superblock
given cut r0 | r1 r2
given timeout r1 primary-silence
given timeout r2 primary-silence
given deliver r2->r1 start-view-change
crash r1 torn 1
restart r1
given crash r1
corrupt r1 superblock 0
restart r1
expect r1 view 1
given disk r1 ok
given heal
given run 5s
expect steady
expect same-state *
