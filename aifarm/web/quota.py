"""How much one submitter may keep on the farm (SECURITY row 28)."""

from aifarm.app.errors import Forbidden
from aifarm.web.http import Request


async def need_room(request: Request, more: int = 0) -> None:
    """Raises Forbidden where what they who ask have on the farm, and `more` bytes, take more than
    one submitter may have. What already trains is never refused a checkpoint or an output."""
    quota, name = request.facade.storage, request.by.name
    if quota is None:
        return
    stored = await request.read(request.facade.store.stored, name)
    if stored + more > quota << 20:
        raise Forbidden(
            f"The packages, data, checkpoints and outputs of {name} take"
            f" {(stored + more) / 2**20:.1f} MiB, and {quota} MiB is what each submitter may have:"
            " delete some, or tasks that have them (the trash counts until it is emptied).",
            expected=f"at most {quota} MiB",
        )
