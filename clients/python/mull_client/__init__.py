"""A typed client for mull: the openai SDK, with test-time compute."""

from mull_client.client import AsyncMull as AsyncMull
from mull_client.client import Mull as Mull
from mull_client.events import Event as Event
from mull_client.events import Finished as Finished
from mull_client.events import Searched as Searched
from mull_client.events import Started as Started
from mull_client.events import Text as Text
from mull_client.options import Budget as Budget
from mull_client.options import Strategy as Strategy
from mull_client.results import TTC as TTC
from mull_client.results import Candidate as Candidate
from mull_client.results import Node as Node
from mull_client.results import Result as Result
from mull_client.results import Tree as Tree
from mull_client.strategies import *  # noqa: F403
