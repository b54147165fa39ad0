/* What `edgeroot.daemon.exchange` says, in one call each and without a Python object for the socket.
 *
 * Bytes are moved here and never looked at: parsing, policy and every decision are Python's. Sockets are descriptors
 * that do not block, so the interpreter lock is kept.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static const char accept_doc[] = "accept(listener, limit) -> [(descriptor, credentials, data or None), ...]";
static const char look_doc[] = "look(descriptor) -> data or None";
static const char answer_doc[] = "answer(descriptor, response, unread_bytes, close) -> how many bytes were sent";

enum { LOOK_BYTES = 8192 };

static bool as_descriptor(PyObject *object, int *descriptor)
{
    long number = PyLong_AsLong(object);
    if (number == -1 && PyErr_Occurred())
        return false;
    if (number < 0 || number > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "a descriptor is a number from 0");
        return false;
    }
    *descriptor = (int)number;
    return true;
}

static bool has_arguments(const char *name, Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return true;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", name, wanted, given);
    return false;
}

/* Returns what recv returns; the bytes stay in the socket. */
static ssize_t look_at(int descriptor, char *buffer)
{
    ssize_t seen;
    do
        seen = recv(descriptor, buffer, LOOK_BYTES, MSG_PEEK | MSG_DONTWAIT);
    while (seen < 0 && errno == EINTR);
    return seen;
}

static bool is_nothing_yet(ssize_t result)
{
    return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* A new list item, or NULL with an exception. The descriptor is the caller's to close if there is none. */
static PyObject *arrival(int descriptor)
{
    struct ucred credentials = {0};
    socklen_t size = sizeof credentials;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    char buffer[LOOK_BYTES];
    ssize_t seen = look_at(descriptor, buffer);
    if (is_nothing_yet(seen))
        return Py_BuildValue("iy#z", descriptor, (char *)&credentials, (Py_ssize_t)sizeof credentials, NULL);
    /* A broken connection looks like one that has ended: reading it will tell. */
    return Py_BuildValue("iy#y#", descriptor, (char *)&credentials, (Py_ssize_t)sizeof credentials, buffer,
                         (Py_ssize_t)(seen < 0 ? 0 : seen));
}

static PyObject *exchange_accept(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    int listener;
    if (!has_arguments("accept", given, 2) || !as_descriptor(args[0], &listener))
        return NULL;
    long limit = PyLong_AsLong(args[1]);
    if (limit == -1 && PyErr_Occurred())
        return NULL;
    PyObject *arrivals = PyList_New(0);
    if (arrivals == NULL)
        return NULL;
    for (long accepted = 0; accepted < limit; accepted++) {
        int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK || accepted > 0)
                break; /* an error that lasts is met again by the next call */
            Py_DECREF(arrivals);
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        PyObject *item = arrival(descriptor);
        if (item == NULL || PyList_Append(arrivals, item) < 0) {
            /* Out of memory: those that were accepted are closed with the list, which nobody will see. */
            Py_XDECREF(item);
            close(descriptor);
            for (Py_ssize_t index = 0; index < PyList_GET_SIZE(arrivals); index++)
                close((int)PyLong_AsLong(PyTuple_GET_ITEM(PyList_GET_ITEM(arrivals, index), 0)));
            Py_DECREF(arrivals);
            return NULL;
        }
        Py_DECREF(item);
    }
    return arrivals;
}

static PyObject *exchange_look(PyObject *Py_UNUSED(module), PyObject *argument)
{
    int descriptor;
    char buffer[LOOK_BYTES];
    if (!as_descriptor(argument, &descriptor))
        return NULL;
    ssize_t seen = look_at(descriptor, buffer);
    if (is_nothing_yet(seen))
        Py_RETURN_NONE;
    if (seen < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyBytes_FromStringAndSize(buffer, seen);
}

/* Take what was only looked at out of the socket; a broken connection is found out by whoever uses it next. */
static void take(int descriptor, Py_ssize_t unread)
{
    char buffer[LOOK_BYTES];
    while (unread > 0) {
        ssize_t taken = recv(descriptor, buffer, unread < LOOK_BYTES ? (size_t)unread : LOOK_BYTES, MSG_DONTWAIT);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken <= 0)
            return;
        unread -= taken;
    }
}

static PyObject *exchange_answer(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    int descriptor;
    char *response;
    Py_ssize_t length;
    if (!has_arguments("answer", given, 4) || !as_descriptor(args[0], &descriptor)
        || PyBytes_AsStringAndSize(args[1], &response, &length) < 0)
        return NULL;
    Py_ssize_t unread = PyLong_AsSsize_t(args[2]);
    if (unread == -1 && PyErr_Occurred())
        return NULL;
    int is_last = PyObject_IsTrue(args[3]);
    if (is_last < 0)
        return NULL;
    ssize_t sent;
    do
        sent = send(descriptor, response, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (is_nothing_yet(sent))
        sent = 0;
    if (sent < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    take(descriptor, unread);
    if (is_last && sent == length)
        close(descriptor);
    return PyLong_FromSsize_t(sent);
}

static PyMethodDef methods[] = {
    {"accept", (PyCFunction)(void (*)(void))exchange_accept, METH_FASTCALL, accept_doc},
    {"look", exchange_look, METH_O, look_doc},
    {"answer", (PyCFunction)(void (*)(void))exchange_answer, METH_FASTCALL, answer_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edgeroot.daemon._exchange",
    .m_doc = "What a worker does with a connection for every request: see edgeroot.daemon.exchange.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__exchange(void)
{
    return PyModuleDef_Init(&definition);
}
