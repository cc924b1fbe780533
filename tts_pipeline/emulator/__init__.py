"""Run a real local speech service: the paid services' API, spoken by espeak-ng, with a bill and faults on demand.

It is independent of the pipeline: the two share no counter, no parser and no table, so that each checks the other.
``python -m tts_pipeline.emulator`` starts it alone; ``local_service.LocalService`` starts it for a job.

A request goes ``server -> request -> faults -> speaker_pool (or tone) -> billing -> shapes -> delivery``.
"""
