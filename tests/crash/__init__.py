"""Whatever happens to a run, the database holds whole batches and running again finishes the job."""
