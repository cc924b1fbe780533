"""A real local speech service: the seed endpoints' API, spoken by espeak-ng, with a bill and faults on demand.

It stands apart from the pipeline: it shares no counter, no parser and no table with it, so that each is a check of the
other. ``python -m tts_pipeline.emulator`` starts it alone; ``local_service.LocalService`` starts it for a job.

A request's way is one line: ``server -> request -> faults -> speaker_pool (or tone) -> billing -> shapes -> delivery``.
"""
