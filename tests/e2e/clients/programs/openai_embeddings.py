"""OpenAI Python: embeddings."""

from openai import OpenAI

client = OpenAI()
answer = client.embeddings.create(model="text-embedding-3-small", input=["a harbour", "a jazz festival"])
print(len(answer.data), len(answer.data[0].embedding))
