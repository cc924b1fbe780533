from __future__ import annotations

from tts_pipeline.emulator.alignment import Event, EventKind, align


def word(place: int, sample: int) -> Event:
    return Event(EventKind.WORD, place, sample)


def sound(sample: int, *, pause: bool = False) -> Event:
    return Event(EventKind.PHONEME, 0, sample, pause)


def clause_end(place: int, sample: int) -> Event:
    return Event(EventKind.CLAUSE_END, place, sample)


def aligned(
    text: str, events: list[Event], language: str = "English", samples: int = 10_000
) -> list[tuple[str, int, int]]:
    words = align(text, events, language=language, samples=samples, sample_rate_hz=1_000)
    assert all(text[each.begin_index : each.end_index] == each.text for each in words)
    return [(each.text, each.begin_ms, each.end_ms) for each in words]


def test_a_word_lasts_until_the_next_begins() -> None:
    """Without a pause between them there is no gap."""
    assert aligned("Hello world.", [word(0, 0), word(6, 400)], samples=900) == [("Hello", 0, 400), ("world", 400, 900)]


def test_a_word_ends_where_a_pause_begins() -> None:
    """The silence after a clause belongs to no word."""
    events = [word(0, 0), sound(0), sound(300, pause=True), sound(350, pause=True), word(7, 500), sound(500)]
    assert aligned("Hello, world", events, samples=900) == [("Hello", 0, 300), ("world", 500, 900)]


def test_words_that_run_together_are_one() -> None:
    """A word without an event of its own belongs to the one before it."""
    assert aligned("end of the day", [word(0, 0), word(4, 100), word(11, 300)]) == [
        ("end", 0, 100),
        ("of the", 100, 300),
        ("day", 300, 10_000),
    ]


def test_events_inside_a_word_are_parts_of_it() -> None:
    """A number is reported in several parts; the first says when it begins."""
    assert aligned("1,234.5 € now", [word(0, 0), word(2, 100), word(2, 200), word(8, 300), word(10, 400)]) == [
        ("1,234.5", 0, 300),
        ("€", 300, 400),
        ("now", 400, 10_000),
    ]


def test_a_first_word_without_an_event_begins_with_its_clause() -> None:
    """The first word of a text or clause is never taken for a part of something before it."""
    events = [word(3, 300), clause_end(7, 800), word(11, 1_200)]
    assert aligned("모든 인간은, 그는 간다", events, "Korean") == [
        ("모든", 0, 300),
        ("인간은", 300, 800),
        ("그는", 800, 1_200),
        ("간다", 1_200, 10_000),
    ]


def test_signs_count_only_when_they_are_spoken() -> None:
    """A sign without an event is no word, nor a part of one."""
    assert aligned("a + b", [word(0, 0), word(4, 500)]) == [("a", 0, 500), ("b", 500, 10_000)]


def test_chinese_is_timed_by_the_character_and_japanese_by_the_phrase() -> None:
    """Each Han character is a word in Chinese; in Japanese a run of letters is one."""
    events = [word(0, 0), word(1, 100), word(2, 200)]
    assert [each[0] for each in aligned("你好吗", events, "Chinese")] == ["你", "好", "吗"]
    assert [each[0] for each in aligned("人間は", events, "Japanese")] == ["人間は"]


def test_an_apostrophe_and_a_combining_mark_stay_inside_a_word() -> None:
    """What is written without a space is one word."""
    assert [each[0] for each in aligned("L'e\u0301cole re-do", [word(0, 0), word(9, 9)], "French")] == [
        "L'e\u0301cole",
        "re-do",
    ]


def test_nothing_spoken_gives_no_words() -> None:
    """A text of signs alone has no words."""
    assert aligned("...", [clause_end(3, 7)]) == []
