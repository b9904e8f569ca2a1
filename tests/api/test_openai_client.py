"""The official client against our server, on loopback, as people use it."""

import asyncio
import itertools

import openai
import pytest

from fqconsole import paths
from store import Store
from tests.api.conftest import TOKEN

ASK = {"model": "tiny", "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
async def client_of():
    """`client_of(server)` is the official client of a server."""
    clients = []

    def make(here, **options):
        client = openai.AsyncOpenAI(base_url=here.url, **{"api_key": TOKEN, "max_retries": 0} | options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


async def test_models_are_listed_and_described(serve, client_of):
    client = client_of(await serve())
    assert [model.id async for model in client.models.list()] == ["tiny"]
    assert (await client.models.retrieve("tiny")).id == "tiny"
    with pytest.raises(openai.NotFoundError, match="only 'tiny'"):
        await client.models.retrieve("other")


async def test_a_chat_is_answered_whole(serve, client_of):
    client = client_of(await serve())
    answer = await client.chat.completions.create(**ASK, max_completion_tokens=9, temperature=0, stop=["x"])
    assert answer.choices[0].message.content == "ONE TWO THREE"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        3,
        3,
        6,
    )
    assert answer.model == "tiny"


async def test_a_chat_is_streamed_with_usage(serve, client_of):
    client = client_of(await serve())
    stream = await client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(text for text in texts if text) == "ONETWOTHREE"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 6


async def test_the_clients_streaming_helper_puts_the_answer_together(serve, client_of):
    client = client_of(await serve())
    async with client.chat.completions.stream(**ASK) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "ONETWOTHREE"


async def test_completions_whole_and_streamed(serve, client_of):
    client = client_of(await serve(chat=False))
    whole = await client.completions.create(model="tiny", prompt="a b", seed=7)
    assert whole.choices[0].text == "A B"
    stream = await client.completions.create(model="tiny", prompt="a b", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream if chunk.choices]) == "AB"


async def test_a_model_without_a_template_says_so(serve, client_of):
    client = client_of(await serve(chat=False))
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        await client.chat.completions.create(**ASK)


async def test_a_failure_has_its_sentence_streamed_too_and_the_session_goes_on(serve, client_of):
    client = client_of(await serve())
    for prompt, stream in itertools.product(("fail", "late"), (False, True)):
        with pytest.raises(openai.InternalServerError, match="ran out of memory"):
            await client.completions.create(model="tiny", prompt=prompt, stream=stream)
    assert (await client.completions.create(model="tiny", prompt="go on")).choices[0].text == "GO ON"


async def test_a_wrong_token_is_refused(serve, client_of):
    here = await serve()
    with pytest.raises(openai.AuthenticationError, match="token is missing or wrong"):
        await client_of(here, api_key="wrong").models.list()


async def test_without_a_token_none_is_asked_for(serve, client_of):
    client = client_of(await serve(token=None), api_key="whatever")
    assert [model.id async for model in client.models.list()] == ["tiny"]


async def test_answers_come_one_at_a_time_in_order(serve, client_of):
    here = await serve()
    client = client_of(here)
    asked = [client.completions.create(model="tiny", prompt=f"n{i}") for i in range(5)]
    answers = await asyncio.gather(*asked)
    assert [answer.choices[0].text for answer in answers] == [f"N{i}" for i in range(5)]
    assert [answered.problem for answered in here.answered] == [""] * 5


async def test_a_client_that_leaves_a_stream_stops_the_answer(serve, client_of):
    here = await serve()
    client = client_of(here)
    stream = await client.completions.create(model="tiny", prompt="endless", stream=True)
    async for _chunk in stream:
        break
    await stream.close()
    # The one model answers again only when the endless answer has been stopped.
    assert (await client.completions.create(model="tiny", prompt="next")).choices[0].text == "NEXT"
    assert [answered.problem for answered in here.answered] == ["the client left", ""]


async def test_a_client_that_gives_up_on_a_whole_answer_stops_it(serve, client_of):
    here = await serve()
    client = client_of(here)
    with pytest.raises(openai.APITimeoutError):
        await client.completions.create(model="tiny", prompt="endless", timeout=0.3)
    assert (await client.completions.create(model="tiny", prompt="next")).choices[0].text == "NEXT"


async def test_a_worker_that_dies_ends_the_server_with_its_reason(serve, client_of):
    here = await serve()
    with pytest.raises(openai.APIStatusError, match="ended"):
        await client_of(here).completions.create(model="tiny", prompt="die")
    await here.task
    assert here.server.failure.code == "worker_died"


async def test_every_answer_is_a_recorded_run(serve, client_of, store_ledger):
    here = await serve(ledger=store_ledger)
    await client_of(here).chat.completions.create(**ASK, seed=5)
    await here.end()
    with Store.open(paths.store_file()) as store:
        (row,) = store.list_runs()
        run = store.run(row.run_id)
    assert (row.kind, row.status) == ("generate", "done")
    assert run.generation.output == "ONE TWO THREE"
    assert TOKEN.encode() not in paths.store_file().read_bytes()
