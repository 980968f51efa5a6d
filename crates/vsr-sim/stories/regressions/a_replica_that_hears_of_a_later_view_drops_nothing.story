# SEED-S4, D9: a replica that hears of a later view asks for it, and drops nothing while it asks. Op 1,
# acknowledged by r2 and r0, must survive r0: the log that r2 offers for view 2 still has it.
cluster 3
given cut c1->r1
given block r0->r1 prepare
request c1 put x kept
given drop r0->r1
given settle
expect reply c1 "ok"
given cut r0 | r1 r2
forge r1->r2 commit view=1 commit=0
expect r2 op 1
expect r2 view 0
expect r2 status normal
given drop r2->r1
crash r0
timeout r1 primary-silence
timeout r2 primary-silence
settle
expect r1 primary
given heal
request c2 get x
resend c2
settle
expect reply c2 "kept"
