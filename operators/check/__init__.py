"""The check whether a node could serve an event.

The way of a page of events, module by module:

1. `batch` takes the page. `usual` reads the shared blocks that come with it into columns, and
   `store` keeps them.
2. `signed` and `time_events` pass the events in the forms that nodes write, all at once: `lists`
   compares their event blocks, `needs` what they need of shared blocks, `headers` reads which
   capability an event names.
3. Where a shared block is not kept, `recent` looks it up, or the event is put `aside`; `later`
   decides about many of these together.
4. All other events are looked at one by one by `event`, which holds the rules and gives the
   reasons; `shared_blocks` reads what they share.
"""
