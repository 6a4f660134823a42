"""Whatever happens to a run: whole batches are kept, and a rerun finishes the job."""
