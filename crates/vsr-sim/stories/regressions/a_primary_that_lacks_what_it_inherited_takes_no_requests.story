# SEED-S2: a new primary that holds a header without its requests cannot know whether a request is new.
cluster 3
request c1 put x 1
given drop r0->r1
given deliver r0->r2
crash r0
given block r2->r1 entry
timeout r1 primary-silence
timeout r2 primary-silence
settle
expect r1 primary
expect r1 op 1
resend c1
settle
expect r1 op 1
unblock r2->r1 entry
given timeout r1 repair
given settle
timeout r1 repair
settle
settle
expect reply c1 "ok"
expect r1 op 1
